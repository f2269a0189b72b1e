drop table system_settings;
