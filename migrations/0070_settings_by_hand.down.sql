drop trigger audit_setting on system_settings;
drop trigger check_setting on system_settings;
drop function audit_by_hand(), audit_setting(), record_by_hand(uuid, text, text, jsonb, jsonb), check_setting();
drop function shape_fault(jsonb, jsonb, text), written_by_hand();
drop policy by_hand on audit_logs;
alter table audit_logs drop column database_user;
drop table setting_declarations;
alter function raise_edge_revision() set search_path = pg_catalog, public;
