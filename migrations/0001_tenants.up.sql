-- Tenants, the hosts they answer to, and the one row that edges compare their snapshot with.
-- Row-level security is forced on every table that carries a tenant: a query that forgets the tenant finds nothing.


create table edge_state (
    singleton boolean primary key default true check (singleton),
    revision bigint not null default 1 check (revision > 0),
    epoch bigint not null default 1 check (epoch > 0),
    generation bigint not null default 1 check (generation > 0),
    restore_id uuid not null default gen_random_uuid()
);
comment on table edge_state is 'What every edge compares its snapshot with: revision rises in the transaction of each change, epoch ends every session, generation empties every cache, restore_id changes when a backup was restored.';
insert into edge_state default values;

-- The row lock makes revisions rise in commit order, so an edge that has seen n has seen every change up to n.
create function raise_edge_revision() returns trigger
    language plpgsql security definer set search_path = pg_catalog, public
    as $$
begin
    update public.edge_state set revision = revision + 1;
    return null;
end
$$;
comment on function raise_edge_revision() is 'Statement trigger of every table that the edge snapshot is made of, so that no writer can forget it, not even one at psql.';
revoke execute on function raise_edge_revision() from public;

create table tenants (
    id uuid primary key default gen_random_uuid(),
    name text not null unique check (char_length(name) between 1 and 100),
    active boolean not null default true,
    generation bigint not null default 1 check (generation > 0),
    created_at timestamptz not null default now()
);
comment on column tenants.active is 'A suspended tenant answers 421 like one that does not exist.';
comment on column tenants.generation is 'Part of every cache key: raised, it empties the tenant''s cache.';

create table tenant_hosts (
    tenant_id uuid not null references tenants (id) on delete cascade,
    host text primary key check (host = lower(host) and char_length(host) between 1 and 253),
    created_at timestamptz not null default now()
);
create index tenant_hosts_tenant on tenant_hosts (tenant_id);
comment on column tenant_hosts.host is 'Lower-case, without port and trailing dot; one host belongs to one tenant.';

alter table tenants enable row level security;
alter table tenants force row level security;
create policy tenant on tenants to kado_app using (id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on tenants to kado_system using (true) with check (true);
create policy operator on tenants for select to kado_operator using (true);

alter table tenant_hosts enable row level security;
alter table tenant_hosts force row level security;
create policy tenant on tenant_hosts to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on tenant_hosts to kado_system using (true) with check (true);
create policy operator on tenant_hosts for select to kado_operator using (true);

create trigger raise_edge_revision after insert or update or delete on tenants
    for each statement execute function raise_edge_revision();
create trigger raise_edge_revision after insert or update or delete on tenant_hosts
    for each statement execute function raise_edge_revision();

grant select on edge_state, tenants, tenant_hosts to kado_app, kado_operator;
grant select, update on edge_state to kado_system;
grant select, insert, update, delete on tenants, tenant_hosts to kado_system;
