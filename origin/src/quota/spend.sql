insert into usage_records as used (tenant_id, user_id, action, hour, count)
select $1, $2, $3, $4, $5::bigint where $5::bigint <= $6::bigint
on conflict (tenant_id, user_id, action, hour) do update set count = used.count + excluded.count
where used.count + excluded.count <= $6
returning count
