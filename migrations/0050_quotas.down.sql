alter table users
    drop constraint quota_override_ends,
    drop column quota_image_process,
    drop column quota_api_call,
    drop column quota_until;
drop table quota_receipts;
drop table usage_records;
