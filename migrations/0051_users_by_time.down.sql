drop index users_by_time;
