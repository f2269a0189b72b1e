revoke update (generation) on tenants from kado_app;
drop table preset_generations;
drop table cache_purges;
