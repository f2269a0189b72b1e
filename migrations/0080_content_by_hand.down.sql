revoke insert, update, delete on site_contents from kado_operator;
drop policy operator on site_contents;
create policy operator on site_contents for select to kado_operator using (true);
drop trigger audit_by_hand on presets;
drop trigger audit_by_hand on site_contents;
drop trigger check_content on site_contents;
drop function check_content(), content_fault(site_contents), is_json_document(text), is_web_address(text);
drop function is_plain_address(text), trimmed(text);
