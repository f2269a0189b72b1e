drop index blobs_by_tenant;
drop index images_by_format;
drop index images_by_time;
drop index tenants_by_time;
alter table tenants drop column operator;
