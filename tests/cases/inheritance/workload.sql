UPDATE inheritance_parent SET v = v + 1;
UPDATE ONLY inheritance_parent SET v = 0 WHERE id = 1;
UPDATE inheritance_parent SET v = 5 WHERE id = 1;
UPDATE inheritance_parent SET id = id + 10 WHERE id = 3;
INSERT INTO inheritance_child VALUES (4, 40, 'z');
INSERT INTO inheritance_keyless VALUES (9, 9);
DELETE FROM inheritance_parent WHERE id = 2;
DELETE FROM inheritance_parent * WHERE v = 5;
