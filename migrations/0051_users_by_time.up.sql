-- Administrators list users in order of creation, and filter them by role under a lock.

create index users_by_time on users (tenant_id, created_at, id);
