-- Quotas of users: what each spent by the hour, what an administrator granted beyond or below the settings, and what the
-- edges have spent, so that neither a repeated spending nor a repeated refund counts twice.

create table usage_records (
    tenant_id uuid not null,
    user_id uuid not null,
    action text not null check (action in ('IMAGE_PROCESS', 'API_CALL')),
    hour timestamptz not null check (hour = date_trunc('hour', hour, 'UTC')),
    count bigint not null check (count >= 0),
    primary key (tenant_id, user_id, action, hour),
    foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade
) with (fillfactor = 70);
create index usage_records_by_hour on usage_records (tenant_id, hour);
create index usage_records_age on usage_records (hour);
comment on table usage_records is 'One row per user, action and hour, kept for 90 days. Spending is one statement that never passes the limit. Room is left in each page, because a row is written again and again and no index changes with it.';

create table quota_receipts (
    tenant_id uuid not null,
    id uuid not null,
    user_id uuid not null,
    action text not null check (action in ('IMAGE_PROCESS', 'API_CALL')),
    hour timestamptz not null,
    count bigint not null check (count >= 0),
    refunded boolean not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade
);
create index quota_receipts_age on quota_receipts (created_at);
create index quota_receipts_user on quota_receipts (tenant_id, user_id);
comment on table quota_receipts is 'What edges have spent, by the identifier they chose; kept for a day. A refund that comes before its spending is kept as well, so that the late one is not counted.';
comment on column quota_receipts.hour is 'The hour it was spent in, which a refund goes back to.';

alter table users
    add column quota_image_process integer check (quota_image_process >= 0),
    add column quota_api_call integer check (quota_api_call >= 0),
    add column quota_until timestamptz,
    add constraint quota_override_ends check (
        (quota_until is not null) = (quota_image_process is not null or quota_api_call is not null)
    );
comment on column users.quota_image_process is 'Pictures an hour, in place of what the settings say, until quota_until; null for what they say.';
comment on column users.quota_api_call is 'API calls an hour, likewise.';

alter table usage_records enable row level security;
alter table usage_records force row level security;
create policy tenant on usage_records to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on usage_records to kado_system using (true) with check (true);
create policy operator on usage_records for select to kado_operator using (true);

alter table quota_receipts enable row level security;
alter table quota_receipts force row level security;
create policy tenant on quota_receipts to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
create policy system on quota_receipts to kado_system using (true) with check (true);
create policy operator on quota_receipts for select to kado_operator using (true);

grant select, insert, update on usage_records, quota_receipts to kado_app;
grant select, insert, update, delete on usage_records, quota_receipts to kado_system;
grant select on usage_records, quota_receipts to kado_operator;
grant select (quota_image_process, quota_api_call, quota_until) on users to kado_operator;
