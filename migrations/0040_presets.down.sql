drop table presets;
