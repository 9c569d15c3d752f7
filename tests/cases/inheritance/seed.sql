INSERT INTO inheritance_parent VALUES (1, 1), (2, 2);
INSERT INTO inheritance_child VALUES (1, 10, 'x'), (3, 30, 'y');
INSERT INTO inheritance_other VALUES (1, 100, 7);
INSERT INTO inheritance_keyless VALUES (1, 1000), (2, 2000);
