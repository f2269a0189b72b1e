-- Tenants whose administrators manage all tenants; and what lists of all pictures and all tenants are found by.

alter table tenants add column operator boolean not null default false;
comment on column tenants.operator is 'Its administrators manage every tenant over HTTP. `kado tenants appoint` and `dismiss` change it, and no route does.';

create index tenants_by_time on tenants (created_at, id);
create index images_by_time on images (tenant_id, created_at, id);
create index images_by_format on images (tenant_id, format, created_at, id);
-- How many bytes a tenant has, without a look at the table.
create index blobs_by_tenant on blobs (tenant_id) include (bytes);
