-- Users, their sessions, the keys that sign access tokens, and the delays of failed logins.

create table users (
    tenant_id uuid not null references tenants (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    email text not null check (email = lower(email) and char_length(email) between 3 and 254),
    password_hash text not null,
    role text not null default 'USER' check (role in ('USER', 'PREMIUM', 'ADMIN')),
    active boolean not null default true,
    must_change_password boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, email)
);
comment on column users.password_hash is 'PHC string, Argon2id.';
comment on column users.must_change_password is 'Everything but password, me and logout answers 403 until it is changed.';

create table sessions (
    tenant_id uuid not null,
    id uuid not null,
    user_id uuid not null,
    generation integer not null default 0 check (generation >= 0),
    epoch bigint not null,
    key_id text not null,
    issued_at timestamptz not null,
    created_at timestamptz not null,
    last_seen_at timestamptz not null,
    ended_at timestamptz,
    end_reason text check ((end_reason is null) = (ended_at is null)),
    user_agent text check (char_length(user_agent) <= 512),
    client_ip text check (char_length(client_ip) <= 45),
    primary key (tenant_id, id),
    foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade
);
create index sessions_user on sessions (tenant_id, user_id, created_at);
create index sessions_last_seen on sessions (last_seen_at);
create index sessions_ended on sessions (tenant_id, ended_at) where ended_at is not null;
comment on table sessions is 'No token is kept: generation, issued_at and key_id are enough to mint the same one again.';
comment on column sessions.epoch is 'edge_state.epoch when it began; a session of an older epoch is over.';

create table login_delays (
    tenant_id uuid not null references tenants (id) on delete cascade,
    key bytea not null check (octet_length(key) = 32),
    failures integer not null check (failures > 0),
    blocked_until timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant_id, key)
);
create index login_delays_updated on login_delays (updated_at);
comment on column login_delays.key is 'HMAC of address and client IP: the table tells nobody who tried to log in, and unknown addresses are kept alike.';

create table signing_keys (
    kid text primary key check (kid ~ '^[A-Za-z0-9_-]{8,64}$'),
    public_key bytea not null check (octet_length(public_key) = 32),
    sealed_private_key text not null,
    state text not null check (state in ('pending', 'active', 'retiring', 'retired')),
    created_at timestamptz not null,
    activated_at timestamptz,
    retire_after timestamptz
);
create unique index signing_keys_one_active on signing_keys (state) where state = 'active';
comment on table signing_keys is 'Global. One active key signs; pending, active and retiring keys are published and verify.';

alter table users enable row level security;
alter table users force row level security;
create policy tenant on users to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on users to kado_system using (true) with check (true);
create policy operator on users for select to kado_operator using (true);

alter table sessions enable row level security;
alter table sessions force row level security;
create policy tenant on sessions to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on sessions to kado_system using (true) with check (true);
create policy operator on sessions for select to kado_operator using (true);

alter table login_delays enable row level security;
alter table login_delays force row level security;
create policy tenant on login_delays to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on login_delays to kado_system using (true) with check (true);

create trigger raise_edge_revision after insert or update or delete on signing_keys
    for each statement execute function raise_edge_revision();
-- An ended session is revoked at the edges, where its token would count until it expires.
create trigger raise_edge_revision after update of ended_at on sessions
    for each statement execute function raise_edge_revision();

grant select, insert, update, delete on users, login_delays to kado_app;
grant select, insert, update on sessions to kado_app;
grant select on signing_keys to kado_app;
grant select, insert, update, delete on users, sessions, login_delays, signing_keys to kado_system;
grant select (tenant_id, id, email, role, active, must_change_password, created_at, updated_at) on users to kado_operator;
grant select on sessions to kado_operator;
grant select (kid, public_key, state, created_at, activated_at, retire_after) on signing_keys to kado_operator;
