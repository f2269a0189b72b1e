drop table signing_keys;
drop table login_delays;
drop table sessions;
drop table users;
