-- Originals: `blobs` are bytes, once per tenant; `images` are what users stored, and what addresses name.

create table blobs (
    tenant_id uuid not null references tenants (id),
    sha256 bytea not null check (octet_length(sha256) = 32),
    bytes bigint not null check (bytes > 0),
    reference_count bigint not null check (reference_count >= 0),
    created_at timestamptz not null,
    primary key (tenant_id, sha256)
);
create index blobs_unreferenced on blobs (tenant_id) where reference_count = 0;
comment on table blobs is 'The object lies at <tenant>/<lower-case hex of sha256>. With no reference left, object and row are swept.';

create table images (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    sha256 bytea not null,
    user_id uuid,
    width integer not null check (width > 0),
    height integer not null check (height > 0),
    format text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    foreign key (tenant_id, sha256) references blobs (tenant_id, sha256),
    foreign key (tenant_id, user_id) references users (tenant_id, id) on delete set null (user_id)
);
create index images_of_user on images (tenant_id, user_id, created_at, id);
create index images_of_blob on images (tenant_id, sha256);

alter table blobs enable row level security;
alter table blobs force row level security;
create policy tenant on blobs to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on blobs to kado_system using (true) with check (true);
create policy operator on blobs for select to kado_operator using (true);

alter table images enable row level security;
alter table images force row level security;
create policy tenant on images to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on images to kado_system using (true) with check (true);
create policy operator on images for select to kado_operator using (true);

grant select, insert, update, delete on blobs, images to kado_app, kado_system;
grant select on blobs, images to kado_operator;
