-- Presets: options under a name, which image addresses call up.

create table presets (
    tenant_id uuid not null references tenants (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    name text not null check (name ~ '^[a-z0-9_-]{1,64}$'),
    options text not null check (char_length(options) <= 2000),
    title text not null default '' check (char_length(title) <= 100),
    description text not null default '' check (char_length(description) <= 500),
    branding boolean not null default false,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, name)
);
create index presets_by_time on presets (tenant_id, created_at, id);
comment on column presets.options is 'In the normal form of the option grammar, without a preset.';
comment on column presets.branding is 'Whether pictures made by it may carry the tenant''s mark.';

alter table presets enable row level security;
alter table presets force row level security;
create policy tenant on presets to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on presets to kado_system using (true) with check (true);
create policy operator on presets for select to kado_operator using (true);

create trigger raise_edge_revision after insert or update or delete on presets
    for each statement execute function raise_edge_revision();

grant select, insert, update, delete on presets to kado_app, kado_system;
grant select on presets to kado_operator;

-- What a new tenant begins with, for those that are there already. The owner sees no tenant, row-level security being
-- forced on it as well.
set local role kado_system;
insert into presets (tenant_id, name, options, title, description, branding, created_at, updated_at)
select t.id, s.name, s.options, s.title, s.description, s.branding,
    now() + s.place * interval '1 microsecond', now() + s.place * interval '1 microsecond'
from tenants t,
    (values
        (0, 'gofood', 'background=%23ffffff,brightness=1.08,contrast=1.05,fit=cover,format=jpeg,height=1080,max-bytes=2097152,quality=90,saturation=1.15,sharpen=0.2,width=1080', 'GoFood', 'Square menu picture, JPEG of at most 2 MB', false),
        (1, 'grabfood', 'background=%23ffffff,brightness=1.07,contrast=1.05,fit=cover,format=jpeg,height=1200,max-bytes=1572864,quality=86,saturation=1.14,sharpen=0.18,width=1200', 'GrabFood', 'Square menu picture, JPEG of at most 1.5 MB', false),
        (2, 'grabfood_cover', 'background=%23ffffff,brightness=1.06,contrast=1.04,fit=cover,format=jpeg,height=1000,max-bytes=2097152,quality=85,saturation=1.12,sharpen=0.15,width=1800', 'GrabFood cover', 'Cover of a shop, JPEG of at most 2 MB', false),
        (3, 'shopeefood', 'background=%23ffffff,brightness=1.05,contrast=1.02,fit=cover,format=jpeg,height=800,max-bytes=1048576,quality=88,saturation=1.18,width=800', 'ShopeeFood', 'Square menu picture, JPEG of at most 1 MB', false),
        (4, 'instagram', 'background=%23ffffff,brightness=1.1,contrast=1.08,fit=cover,format=jpeg,height=1350,max-bytes=3145728,quality=92,saturation=1.25,sharpen=0.3,width=1080', 'Instagram', 'Upright post, JPEG of at most 3 MB, with the watermark where it is asked for', true),
        (5, 'general', 'brightness=1.05,fit=cover,format=png,height=1024,max-bytes=2097152,quality=85,saturation=1.12,width=1024', 'General', 'Square picture that stays transparent, PNG of at most 2 MB', false)
    ) as s (place, name, options, title, description, branding);
set local role kado_owner;
