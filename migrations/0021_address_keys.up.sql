-- Keys that a tenant's image addresses are signed with. Several may be active: addresses outlive a rotation.

create table address_keys (
    tenant_id uuid not null references tenants (id) on delete cascade,
    id text not null check (id ~ '^[a-z0-9]{8}$'),
    sealed_key text not null,
    created_at timestamptz not null,
    retired_at timestamptz,
    primary key (tenant_id, id)
);
comment on table address_keys is 'A key without retired_at verifies at every edge. Retired ones stay for the record, without their key being told to anybody.';

alter table address_keys enable row level security;
alter table address_keys force row level security;
create policy tenant on address_keys to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on address_keys to kado_system using (true) with check (true);
create policy operator on address_keys for select to kado_operator using (true);

create trigger raise_edge_revision after insert or update or delete on address_keys
    for each statement execute function raise_edge_revision();

grant select, insert, update on address_keys to kado_app;
grant select, insert, update, delete on address_keys to kado_system;
grant select (tenant_id, id, created_at, retired_at) on address_keys to kado_operator;
