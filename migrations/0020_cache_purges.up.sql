-- What was purged from the caches: single addresses and sources by hash and time, presets by a generation.

create table cache_purges (
    tenant_id uuid not null references tenants (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    requested_at timestamptz not null,
    requested_by uuid,
    hashes text[] not null default '{}' check (cardinality(hashes) <= 200),
    primary key (tenant_id, id)
);
create index cache_purges_by_time on cache_purges (tenant_id, requested_at);
create index cache_purges_expired on cache_purges (requested_at);
comment on table cache_purges is 'One row a request, kept for as long as a cached picture may live. requested_by is null for operators and for what a change brings along, which no limit counts.';
comment on column cache_purges.hashes is 'What edges compare entries with; empty where a raised generation says it all.';

create table preset_generations (
    tenant_id uuid not null references tenants (id) on delete cascade,
    preset text not null check (preset ~ '^[a-z0-9_-]{1,64}$'),
    generation bigint not null check (generation > 0),
    primary key (tenant_id, preset)
);
comment on table preset_generations is 'Part of the cache keys of pictures made by a preset. A preset without a row was never purged.';

alter table cache_purges enable row level security;
alter table cache_purges force row level security;
create policy tenant on cache_purges to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on cache_purges to kado_system using (true) with check (true);
create policy operator on cache_purges for select to kado_operator using (true);

alter table preset_generations enable row level security;
alter table preset_generations force row level security;
create policy tenant on preset_generations to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on preset_generations to kado_system using (true) with check (true);
create policy operator on preset_generations for select to kado_operator using (true);

create trigger raise_edge_revision after insert or update on cache_purges
    for each statement execute function raise_edge_revision();
create trigger raise_edge_revision after insert or update or delete on preset_generations
    for each statement execute function raise_edge_revision();

grant select, insert, update (hashes) on cache_purges to kado_app;
grant select, insert, update on preset_generations to kado_app;
-- An administrator empties the cache of the own tenant.
grant update (generation) on tenants to kado_app;
grant select, insert, update, delete on cache_purges, preset_generations to kado_system;
grant select on cache_purges, preset_generations to kado_operator;
