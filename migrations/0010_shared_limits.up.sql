-- Limits of several gateways: which gateways there are, and the counters that stand in while Redis is away.

create table gateways (
    id uuid primary key,
    name text not null check (char_length(name) between 1 and 300),
    joined_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp()
);
comment on table gateways is 'Global. Leases: a gateway that was not seen for a while is gone. Without Redis there may be one at a time.';

create table limit_counters (
    tenant_id uuid not null references tenants (id) on delete cascade,
    key text not null check (char_length(key) <= 300),
    state jsonb not null,
    until_ms bigint not null,
    primary key (tenant_id, key)
);
create index limit_counters_until on limit_counters (until_ms);
comment on column limit_counters.state is 'As kado-shared counts: a log of admissions or the theoretical arrival time.';
comment on column limit_counters.until_ms is 'Unix milliseconds from which on it no longer matters; swept after that.';

alter table limit_counters enable row level security;
alter table limit_counters force row level security;
create policy tenant on limit_counters to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on limit_counters to kado_system using (true) with check (true);

grant select, insert, update, delete on limit_counters to kado_app, kado_system;
grant select, insert, update, delete on gateways to kado_system;
grant select on gateways to kado_operator;
