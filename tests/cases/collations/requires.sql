SELECT count(*) > 100 FROM pg_collation WHERE collprovider = 'i'
