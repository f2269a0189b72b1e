revoke update (epoch) on tenants from kado_app;
alter table tenants drop column epoch;
alter table sessions drop column rotation_key;
