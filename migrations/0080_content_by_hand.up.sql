-- What people change of content at psql is checked, audited and announced, and what a superuser changes of presets is audited.
--
-- The rules of content are those of origin/src/content.rs, written here once more because nothing of the service runs at psql;
-- a test feeds the same values to both. SQL knows no more of a host than its characters, and admits a number in JSON that is
-- too large for a double: of these it takes some that the service does not.

-- Without the white space that surrounds it.
create function trimmed(text text) returns text
    language sql immutable set search_path = pg_catalog, public, pg_temp
    as $$
    select regexp_replace(
        regexp_replace(text, '^[\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+', ''),
        '[\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$', '')
$$;

-- Whether a text has neither control characters nor white space nor backslashes, which readers of addresses forgive.
create function is_plain_address(address text) returns boolean
    language sql immutable set search_path = pg_catalog, public, pg_temp
    as $$
    select address !~ '[\u0001-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\\]'
$$;

-- An absolute http or https address without a user name.
create function is_web_address(address text) returns boolean
    language plpgsql immutable set search_path = pg_catalog, public, pg_temp
    as $$
declare
    authority text := substring(address from '^https?:///*([^/?#]*)');
    port text;
begin
    if authority is null or not is_plain_address(address) or authority ~ '^.+@' then
        return false;
    end if;
    authority := ltrim(authority, '@');
    port := ltrim(substring(authority from ':([0-9]*)$'), '0');
    return authority ~ '^(\[[0-9A-Fa-f:.]+\]|[^]:<>^|[]+)(:[0-9]*)?$'
        and (coalesce(port, '') = '' or length(port) <= 5 and port::integer <= 65535);
end
$$;

-- A JSON document that every reader reads: at most 127 levels deep, and without halves of surrogate pairs.
create function is_json_document(document text) returns boolean
    language plpgsql immutable set search_path = pg_catalog, public, pg_temp
    as $$
declare
    brackets text := regexp_replace(regexp_replace(document, '"([^"\\]|\\.)*"', '', 'g'), '[^][{}]', '', 'g');
    escapes text := replace(document, '\\', '');
    deepest integer;
begin
    select max(depth) into deepest from (
        select sum(case when bracket in ('[', '{') then 1 else -1 end) over (order by place) as depth
        from string_to_table(brackets, null) with ordinality as t (bracket, place)) as levels;
    if deepest > 127 then
        return false;
    end if;
    escapes := regexp_replace(escapes, '\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}', '', 'g');
    if escapes ~ '\\u[dD][89a-fA-F]' then
        return false;
    end if;
    perform document::json;
    return true;
exception when others then
    return false;
end
$$;

-- What is wrong with an item, in the order in which it is looked for; null where nothing is.
create function content_fault(item public.site_contents) returns text
    language plpgsql immutable set search_path = pg_catalog, public, pg_temp
    as $$
declare
    name constant text := '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$';
    longest integer := case item.type when 'TEXT' then 10000 when 'HTML' then 49152 when 'URL' then 2048
        when 'IMAGE' then 2048 when 'JSON' then 49152 end;
begin
    if item.section !~ name then
        return 'section must be 1 to 64 of A-Z, a-z, 0-9, _, . and -, no sign first';
    elsif item.key !~ name then
        return 'key must be 1 to 64 of A-Z, a-z, 0-9, _, . and -, no sign first';
    elsif longest is null then
        return 'type must be TEXT, HTML, URL, IMAGE or JSON';
    elsif octet_length(item.value) > longest then
        return format('value may have %s bytes as %s', longest, item.type);
    elsif item.type in ('TEXT', 'HTML') and item.value ~ '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]' then
        return 'value must have no control characters but tabs and newlines';
    elsif item.type = 'URL' and not is_web_address(item.value) then
        return 'value must be an absolute address: http:// or https://, a host, no user name';
    elsif item.type = 'IMAGE' and not is_web_address(item.value)
            and not (is_plain_address(item.value) and item.value ~ '^/($|[^/])') then
        return 'value must be an address: http:// or https://, or a path of this site that begins with one /';
    elsif item.type = 'JSON' and not is_json_document(item.value) then
        return 'value must be JSON';
    elsif char_length(trimmed(item.label)) > 200 or trimmed(item.label) ~ '[\u0001-\u001f\u007f-\u009f]' then
        return 'label must have at most 200 characters, no control characters among them';
    elsif item.position not between 0 and 1000000 then
        return 'position must be 0 to 1000000';
    end if;
    return null;
end
$$;

create function check_content() returns trigger
    language plpgsql set search_path = pg_catalog, public, pg_temp
    as $$
declare
    fault text;
    others record;
begin
    if tg_op = 'UPDATE' and (new.tenant_id, new.id) is distinct from (old.tenant_id, old.id) then
        raise check_violation using message = 'an item keeps its tenant and its id: delete it and insert another';
    end if;
    fault := content_fault(new);
    if fault is not null then
        raise check_violation using message = format('%s/%s: %s', new.section, new.key, fault);
    end if;
    if tg_op = 'INSERT' then
        new.id := coalesce(new.id, gen_random_uuid());
        new.created_at := coalesce(new.created_at, now());
        -- The service's own lock, so that nothing grows past what is counted. A change holds its row by now, and the service
        -- takes the lock before the row: it would be a deadlock.
        perform pg_advisory_xact_lock(hashtextextended('kado content ' || new.tenant_id, 0));
    else
        new.created_at := old.created_at;
        new.updated_at := old.updated_at;
    end if;
    new.label := trimmed(new.label);
    -- Where nothing is changed, there is nothing to audit.
    if tg_op = 'INSERT' or new is distinct from old then
        new.updated_at := now();
    end if;
    -- Not counting one in its place, which is about to be replaced or to refuse this one.
    select count(*) as items, count(*) filter (where section = new.section) as section,
            coalesce(sum(octet_length(value)) filter (where section = new.section), 0) + octet_length(new.value) as bytes
        into others from public.site_contents
        where tenant_id = new.tenant_id and id <> new.id and (section, key) is distinct from (new.section, new.key);
    if others.items >= 2000 then
        raise check_violation using message = 'there are 2000 items, which is the most: delete those that nobody uses';
    elsif others.section >= 100 then
        raise check_violation using
            message = format('%s has 100 items, which is the most: use another section', new.section);
    elsif others.bytes > 1048576 then
        raise check_violation using
            message = format('the values of %s may have 1048576 bytes in all: use another section, or shorter values', new.section);
    end if;
    return new;
end
$$;

revoke execute on function check_content() from public;

create trigger check_content before insert or update on site_contents
    for each row when (written_by_hand()) execute function check_content();
create trigger audit_by_hand after insert or update or delete on site_contents
    for each row when (written_by_hand()) execute function audit_by_hand('content', 'section', 'key');
create trigger audit_by_hand after insert or update or delete on presets
    for each row when (written_by_hand()) execute function audit_by_hand('presets', 'name');

drop policy operator on site_contents;
create policy operator on site_contents to kado_operator using (true) with check (true);
grant insert, update, delete on site_contents to kado_operator;
