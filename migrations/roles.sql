-- The four roles of a Kado cluster. Run by `kado migrate` before the numbered migrations, and harmless when repeated.
-- Roles belong to the whole cluster and other databases may use them, so no migration ever drops them.
do $$
declare
    name text;
begin
    foreach name in array array['kado_owner', 'kado_app', 'kado_system', 'kado_operator'] loop
        if not exists (select from pg_roles where rolname = name) then
            begin
                execute format('create role %I nologin nosuperuser nocreatedb nocreaterole nobypassrls', name);
            exception
                -- Another database of this cluster is being migrated at the same moment.
                when duplicate_object or unique_violation then null;
            end;
        end if;
    end loop;
    foreach name in array array['kado_app', 'kado_system'] loop
        if exists (select from pg_roles where rolname = name and not rolcanlogin) then
            execute format('alter role %I login', name);
        end if;
    end loop;
    -- Whoever migrates acts as the owner, and the operator's commands act as kado_system; a superuser may do so anyway.
    if not (select rolsuper from pg_roles where rolname = current_user) then
        execute format('grant kado_owner, kado_system to %I', current_user);
    end if;
    execute format('grant connect on database %I to kado_app, kado_system, kado_operator', current_database());
    grant usage, create on schema public to kado_owner;
    grant usage on schema public to kado_app, kado_system, kado_operator;
end
$$;
