drop table tenant_hosts;
drop table tenants;
drop function raise_edge_revision();
drop table edge_state;
