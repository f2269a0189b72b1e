-- Tenants that were deleted, for as long as something of theirs may lie in the blob store; and the users whose passwords
-- were hashed by another system.

create table deleted_tenants (
    id uuid primary key,
    deleted_at timestamptz not null
);
comment on table deleted_tenants is 'Global. The sweep removes what lies at <id>/ in the blob store, for a day: an upload may have been under way.';

grant select, insert, delete on deleted_tenants to kado_system;
grant select on deleted_tenants to kado_operator;

-- Few rows, and soon none: who signs in gets a hash of ours.
create index users_taken_over on users (tenant_id) where password_hash like '$2%';
comment on column users.password_hash is 'PHC string, Argon2id; bcrypt of users who were taken over and have not signed in yet.';
