-- The audit log: written in the transaction of the change that it tells of, never changed afterwards.

create table audit_logs (
    tenant_id uuid references tenants (id) on delete cascade,
    id uuid primary key default gen_random_uuid(),
    created_at timestamptz not null default now(),
    actor text not null check (actor in ('user', 'operator', 'system')),
    user_id uuid,
    action text not null check (char_length(action) between 1 and 100),
    target text check (char_length(target) <= 300),
    before jsonb,
    after jsonb,
    request_id text check (char_length(request_id) <= 64),
    client_ip text check (char_length(client_ip) <= 45)
);
create index audit_logs_by_time on audit_logs (tenant_id, created_at, id);
comment on table audit_logs is 'tenant_id is null for what concerns all tenants. user_id is no foreign key: the entry outlives the user.';

alter table audit_logs enable row level security;
alter table audit_logs force row level security;
create policy tenant on audit_logs to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on audit_logs to kado_system using (true) with check (true);
create policy operator on audit_logs for select to kado_operator using (true);

grant select, insert on audit_logs to kado_app;
grant select, insert, delete on audit_logs to kado_system;
grant select on audit_logs to kado_operator;
