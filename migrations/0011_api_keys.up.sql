-- API keys: each acts for the user who made it, within its scopes.

create table api_keys (
    tenant_id uuid not null,
    id uuid not null,
    user_id uuid not null,
    name text not null check (char_length(name) between 1 and 100),
    prefix text not null check (prefix ~ '^[0-9a-f]{12}$'),
    sha256 bytea not null check (octet_length(sha256) = 32),
    scopes text[] not null check (
        cardinality(scopes) > 0
        and scopes <@ array['images:read', 'images:write', 'process', 'admin:read', 'admin:write']
    ),
    rate_limit jsonb,
    created_at timestamptz not null,
    expires_at timestamptz,
    last_used_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, prefix),
    foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade
);
create index api_keys_by_time on api_keys (tenant_id, created_at, id);
comment on column api_keys.sha256 is 'Of the whole key, which is shown once and kept nowhere.';
comment on column api_keys.rate_limit is 'A rule as kado-shared reads it; null for none of its own.';

alter table api_keys enable row level security;
alter table api_keys force row level security;
create policy tenant on api_keys to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on api_keys to kado_system using (true) with check (true);
create policy operator on api_keys for select to kado_operator using (true);

grant select, insert, update, delete on api_keys to kado_app, kado_system;
grant select (tenant_id, id, user_id, name, prefix, scopes, rate_limit, created_at, expires_at, last_used_at) on api_keys to kado_operator;
