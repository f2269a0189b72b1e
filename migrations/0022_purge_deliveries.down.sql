drop table purge_deliveries;
