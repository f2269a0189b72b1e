drop table images;
drop table blobs;
