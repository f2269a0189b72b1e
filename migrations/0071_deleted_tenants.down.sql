drop index users_taken_over;
comment on column users.password_hash is 'PHC string, Argon2id.';
drop table deleted_tenants;
