drop table address_keys;
