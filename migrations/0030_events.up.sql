-- What the edges tell of their work: events one by one, counts summed by the hour, and the reports that were added.

create table image_events (
    tenant_id uuid not null references tenants (id) on delete cascade,
    id uuid not null,
    at timestamptz not null,
    received_at timestamptz not null,
    kind text not null check (kind ~ '^[a-zA-Z][a-zA-Z0-9._-]{0,31}$'),
    result text not null check (char_length(result) between 1 and 32),
    request_id text not null check (char_length(request_id) between 8 and 64),
    trace_id text check (char_length(trace_id) = 32),
    user_id uuid,
    ms bigint not null check (ms >= 0),
    lane text check (char_length(lane) between 1 and 32),
    source_format text check (char_length(source_format) between 1 and 32),
    bytes_in bigint check (bytes_in >= 0),
    format text check (char_length(format) between 1 and 32),
    width bigint check (width >= 0),
    height bigint check (height >= 0),
    bytes_out bigint check (bytes_out >= 0),
    primary key (tenant_id, id)
);
create index image_events_by_time on image_events (tenant_id, at, id);
create index image_events_age on image_events (at);
comment on table image_events is 'Transforms, uploads and processes, each exactly once: an edge repeats an event under its id until it hears that the event is stored. Kept for 90 days.';
comment on column image_events.at is 'When it was done, by the edge''s clock. Events older than the table keeps are refused, so that none comes back after it was swept.';
comment on column image_events.result is 'ok, or the code of the problem that the client was told.';
comment on column image_events.user_id is 'No foreign key: the event outlives the user.';

create table edge_counts (
    tenant_id uuid references tenants (id) on delete cascade,
    hour timestamptz not null,
    name text not null check (char_length(name) between 1 and 64),
    count bigint not null check (count >= 0),
    unique nulls not distinct (tenant_id, hour, name)
);
create index edge_counts_age on edge_counts (hour);
comment on table edge_counts is 'Hits, refusals, bytes and the like, summed over all edges. tenant_id is null for what belongs to no tenant. An edge that dies may not have told of its last second.';

create table edge_reports (
    id uuid primary key,
    received_at timestamptz not null
);
create index edge_reports_age on edge_reports (received_at);
comment on table edge_reports is 'Reports of counts that were added, so that none is added twice.';

alter table image_events enable row level security;
alter table image_events force row level security;
create policy tenant on image_events to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on image_events to kado_system using (true) with check (true);
create policy operator on image_events for select to kado_operator using (true);

alter table edge_counts enable row level security;
alter table edge_counts force row level security;
create policy tenant on edge_counts to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on edge_counts to kado_system using (true) with check (true);
create policy operator on edge_counts for select to kado_operator using (true);

grant select on image_events, edge_counts to kado_app, kado_operator;
grant select, insert, delete on image_events to kado_system;
grant select, insert, update, delete on edge_counts to kado_system;
grant select, insert, delete on edge_reports to kado_system;
