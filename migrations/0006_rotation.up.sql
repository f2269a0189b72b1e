-- What a session remembers of its last rotation, and each tenant's own part of the epoch that ends sessions.

alter table sessions add column rotation_key bytea check (octet_length(rotation_key) = 32);
comment on column sessions.rotation_key is 'SHA-256 of the Idempotency-Key that the current token was asked for with.';

alter table tenants add column epoch bigint not null default 0 check (epoch >= 0);
comment on column tenants.epoch is 'Added to edge_state.epoch: raised, it ends every session of the tenant alone.';
grant update (epoch) on tenants to kado_app;
