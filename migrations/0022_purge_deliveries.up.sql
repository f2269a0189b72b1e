-- What a CDN in front still has to be told of purges. Written with the purge, removed when the CDN has confirmed it.

create table purge_deliveries (
    tenant_id uuid not null references tenants (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    tags text[] not null check (cardinality(tags) between 1 and 30),
    created_at timestamptz not null,
    attempts integer not null default 0 check (attempts >= 0),
    next_at timestamptz not null,
    primary key (tenant_id, id)
);
create index purge_deliveries_due on purge_deliveries (next_at);
comment on column purge_deliveries.next_at is 'Nobody tries before; whoever takes it on moves it ahead, so that two replicas do not send it at once.';

alter table purge_deliveries enable row level security;
alter table purge_deliveries force row level security;
create policy tenant on purge_deliveries to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on purge_deliveries to kado_system using (true) with check (true);
create policy operator on purge_deliveries for select to kado_operator using (true);

grant select, insert on purge_deliveries to kado_app;
grant select, insert, update, delete on purge_deliveries to kado_system;
grant select on purge_deliveries to kado_operator;
