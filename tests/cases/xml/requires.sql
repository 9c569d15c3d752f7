SELECT EXISTS (SELECT 1 FROM pg_config WHERE name = 'CONFIGURE' AND setting LIKE '%--with-libxml%')
