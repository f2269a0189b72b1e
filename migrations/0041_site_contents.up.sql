-- Texts, pictures and addresses of a tenant's own pages, by section.

create table site_contents (
    tenant_id uuid not null references tenants (id) on delete cascade,
    id uuid not null,
    section text not null check (section ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$'),
    key text not null check (key ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$'),
    value text not null check (octet_length(value) <= 49152),
    type text not null check (type in ('TEXT', 'HTML', 'URL', 'IMAGE', 'JSON')),
    label text not null default '' check (char_length(label) <= 200),
    position integer not null default 0 check (position between 0 and 1000000),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, section, key)
);
create index site_contents_by_time on site_contents (tenant_id, created_at, id);
comment on column site_contents.value is 'As an administrator gave it, valid for its type. HTML is served within JSON only.';
comment on column site_contents.position is 'Order within the section, then by key.';

alter table site_contents enable row level security;
alter table site_contents force row level security;
create policy tenant on site_contents to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on site_contents to kado_system using (true) with check (true);
create policy operator on site_contents for select to kado_operator using (true);

grant select, insert, update, delete on site_contents to kado_app, kado_system;
grant select on site_contents to kado_operator;
