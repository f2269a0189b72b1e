drop table edge_reports;
drop table edge_counts;
drop table image_events;
