-- What people change at psql is checked, audited and announced like everything else.
--
-- Every function names pg_temp, last: unnamed, it comes first, and whoever may make a temporary table has it read as ours.
--
-- A person's role is a member of kado_operator, and so is a superuser; the service's roles are not, because the service does
-- all of that itself. A superuser, who could as well disable triggers, may `set kado.by_hand = off`, to restore rows.

alter function raise_edge_revision() set search_path = pg_catalog, public, pg_temp;

create table setting_declarations (
    name text primary key check (char_length(name) between 1 and 100),
    section text not null,
    kind text not null,
    shape jsonb not null,
    standard jsonb not null,
    secret boolean not null,
    description text not null
);
comment on table setting_declarations is 'Global. The declaration in kado-shared, written here by `kado migrate up`; nobody else changes it.';
comment on column setting_declarations.shape is 'What can be said of a value without running the service: keywords as in JSON Schema, and `expects` for people.';
comment on column setting_declarations.standard is 'What holds where nothing is set.';
grant select on setting_declarations to kado_app, kado_system, kado_operator;

alter table audit_logs add column database_user text check (char_length(database_user) between 1 and 63);
comment on column audit_logs.database_user is 'Who it was at psql.';
create policy by_hand on audit_logs for insert to kado_owner with check (actor = 'operator' and database_user is not null);

create function written_by_hand() returns boolean
    language sql stable set search_path = pg_catalog, public, pg_temp
    as $$
    select pg_catalog.pg_has_role(current_user, 'kado_operator', 'member')
        and not (pg_catalog.current_setting('kado.by_hand', true) is not distinct from 'off'
                 and (select rolsuper from pg_catalog.pg_roles where rolname = current_user))
$$;
comment on function written_by_hand() is 'Whether a person is at work. In the WHEN of a trigger, where current_user is whoever runs the statement.';

-- Where a value is not of a shape; null where it is. Each keyword concerns values of its own type.
create function shape_fault(value jsonb, shape jsonb, place text) returns text
    language plpgsql immutable set search_path = pg_catalog, public, pg_temp
    as $$
declare
    kind text := jsonb_typeof(value);
    plain text := value #>> '{}';
    number numeric;
    key text;
    fault text;
begin
    if shape ? 'types' and not shape -> 'types' ? kind then
        return place;
    end if;
    case kind
        when 'number' then
            number := plain::numeric;
            if (shape ->> 'integer')::boolean and scale(number) > 0
                or number < (shape ->> 'minimum')::numeric or number > (shape ->> 'maximum')::numeric then
                return place;
            end if;
        when 'string' then
            if octet_length(plain) > (shape ->> 'maxBytes')::integer
                or (shape ->> 'plain')::boolean and plain ~ '[\u0001-\u001f\u007f-\u009f]'
                or shape ? 'pattern' and plain !~ (shape ->> 'pattern') then
                return place;
            end if;
        when 'array' then
            if jsonb_array_length(value) > (shape ->> 'maxItems')::integer then
                return place;
            end if;
            if shape ? 'items' then
                for number in 0 .. jsonb_array_length(value) - 1 loop
                    fault := shape_fault(value -> number::integer, shape -> 'items', format('%s[%s]', place, number));
                    if fault is not null then
                        return fault;
                    end if;
                end loop;
            end if;
        when 'object' then
            for key in select jsonb_array_elements_text(shape -> 'required') loop
                if not value ? key then
                    return place || '.' || key;
                end if;
            end loop;
            if shape ? 'properties' then
                for key in select jsonb_object_keys(value) loop
                    if not shape -> 'properties' ? key then
                        return place || '.' || key;
                    end if;
                    fault := shape_fault(value -> key, shape -> 'properties' -> key, place || '.' || key);
                    if fault is not null then
                        return fault;
                    end if;
                end loop;
            end if;
        else
    end case;
    return null;
end
$$;

create function check_setting() returns trigger
    language plpgsql set search_path = pg_catalog, public, pg_temp
    as $$
declare
    declared public.setting_declarations;
    place text;
begin
    if tg_op = 'UPDATE' and (new.tenant_id, new.name) is distinct from (old.tenant_id, old.name) then
        raise check_violation using message = 'a setting keeps its tenant and its name: delete it and insert another';
    end if;
    select * into declared from public.setting_declarations where name = new.name;
    if not found then
        raise check_violation using
            message = format('there is no setting %s', quote_literal(new.name)),
            hint = 'select name, kind, standard, description from setting_declarations order by name';
    end if;
    if declared.secret then
        if tg_op = 'INSERT' or new.value is distinct from old.value then
            raise check_violation using
                message = format('%s is a secret, which only the service can seal', new.name),
                hint = format('kado settings set %s - < secret.txt', new.name);
        end if;
    else
        place := shape_fault(new.value, declared.shape, new.name);
        if place is not null then
            raise check_violation using
                message = format('%s %s', new.name, declared.shape ->> 'expects'),
                detail = format('%s is wrong.', place);
        end if;
    end if;
    new.updated_at := now();
    new.updated_by := null;
    return new;
end
$$;

-- Only triggers reach it: people have no right to run it, nor to write into the audit log.
create function record_by_hand(tenant uuid, action text, target text, before jsonb, after jsonb) returns void
    language sql security definer set search_path = pg_catalog, public, pg_temp
    as $$
    insert into public.audit_logs (tenant_id, actor, database_user, action, target, before, after)
        values (tenant, 'operator', session_user, action, left(target, 300), before, after);
    select pg_notify('kado_changes', json_build_object('tenant', tenant, 'action', action, 'target', left(target, 300))::text);
$$;
comment on function record_by_hand(uuid, text, text, jsonb, jsonb) is 'The notice is a hint for whoever listens; the truth is edge_state.revision.';
revoke execute on function record_by_hand(uuid, text, text, jsonb, jsonb) from public;

create function audit_setting() returns trigger
    language plpgsql security definer set search_path = pg_catalog, public, pg_temp
    as $$
declare
    tenant uuid;
    setting text;
    old_value jsonb;
    new_value jsonb;
    changed boolean;
begin
    if tg_op <> 'INSERT' then
        tenant := old.tenant_id;
        setting := old.name;
        old_value := old.value;
    end if;
    if tg_op <> 'DELETE' then
        tenant := new.tenant_id;
        setting := new.name;
        new_value := new.value;
    end if;
    changed := old_value is distinct from new_value;
    if exists (select from public.setting_declarations where name = setting and secret) then
        old_value := case when old_value is not null then '"********"'::jsonb end;
        new_value := case when new_value is not null then '"********"'::jsonb end;
    end if;
    if changed then
        perform record_by_hand(
            tenant, 'settings.update', setting,
            jsonb_build_object(setting, old_value), jsonb_build_object(setting, new_value));
    end if;
    return null;
end
$$;

-- For any other table without secrets, by one statement:
--   create trigger audit_by_hand after insert or update or delete on presets
--       for each row when (written_by_hand()) execute function audit_by_hand('presets', 'name');
-- The first argument begins the action (presets.update), the others name the columns that tell the row.
create function audit_by_hand() returns trigger
    language plpgsql security definer set search_path = pg_catalog, public, pg_temp
    as $$
declare
    old_row jsonb;
    new_row jsonb;
    tenant uuid;
    target text;
begin
    if tg_op <> 'INSERT' then
        old_row := to_jsonb(old);
    end if;
    if tg_op <> 'DELETE' then
        new_row := to_jsonb(new);
    end if;
    tenant := (coalesce(new_row, old_row) ->> 'tenant_id')::uuid;
    select string_agg(coalesce(new_row, old_row) ->> tg_argv[place], '/' order by place)
        into target from generate_series(1, tg_nargs - 1) as place;
    if old_row is distinct from new_row then
        perform record_by_hand(
            tenant,
            tg_argv[0] || case tg_op when 'INSERT' then '.create' when 'UPDATE' then '.update' else '.delete' end,
            target, old_row - 'tenant_id', new_row - 'tenant_id');
    end if;
    return null;
end
$$;

-- A trigger fires without it; who makes one needs it, and would write whatever into the audit log.
revoke execute on function check_setting(), audit_setting(), audit_by_hand() from public;

create trigger check_setting before insert or update on system_settings
    for each row when (written_by_hand()) execute function check_setting();
create trigger audit_setting after insert or update or delete on system_settings
    for each row when (written_by_hand()) execute function audit_setting();
