-- Answers to creations that were asked for with an Idempotency-Key: written in the transaction of what they tell of.

create table idempotency_keys (
    tenant_id uuid not null,
    user_id uuid not null,
    route text not null,
    key_sha256 bytea not null check (octet_length(key_sha256) = 32),
    fingerprint bytea not null check (octet_length(fingerprint) = 32),
    status smallint not null check (status between 200 and 299),
    location text,
    answer text not null,
    created_at timestamptz not null,
    primary key (tenant_id, user_id, route, key_sha256),
    foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade
);
create index idempotency_keys_by_time on idempotency_keys (created_at);
comment on column idempotency_keys.route is 'Method and template: POST /api/images.';
comment on column idempotency_keys.fingerprint is 'SHA-256 of the target and of what was asked for; another one is another request.';
comment on column idempotency_keys.answer is 'The body, as JSON; what is shown only once is not in it.';

alter table idempotency_keys enable row level security;
alter table idempotency_keys force row level security;
create policy tenant on idempotency_keys to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on idempotency_keys to kado_system using (true) with check (true);
create policy operator on idempotency_keys for select to kado_operator using (true);

grant select, insert, update, delete on idempotency_keys to kado_app, kado_system;
grant select (tenant_id, user_id, route, status, location, created_at) on idempotency_keys to kado_operator;
