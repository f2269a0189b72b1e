drop table site_contents;
