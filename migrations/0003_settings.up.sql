-- Settings: a row with tenant null holds for every tenant that has no row of its own.

create table system_settings (
    tenant_id uuid references tenants (id) on delete cascade,
    name text not null check (char_length(name) between 1 and 100),
    value jsonb not null,
    updated_at timestamptz not null default now(),
    updated_by uuid,
    unique nulls not distinct (tenant_id, name)
);
comment on column system_settings.value is 'Valid by the declaration in kado-shared; a secret is an object {"sealed": ".."}.';

alter table system_settings enable row level security;
alter table system_settings force row level security;
create policy tenant on system_settings to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy global_readable on system_settings for select to kado_app using (tenant_id is null);
create policy system on system_settings to kado_system using (true) with check (true);
create policy operator on system_settings to kado_operator using (true) with check (true);

create trigger raise_edge_revision after insert or update or delete on system_settings
    for each statement execute function raise_edge_revision();

grant select, insert, update, delete on system_settings to kado_app, kado_system, kado_operator;
