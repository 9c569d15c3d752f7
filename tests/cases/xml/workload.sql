INSERT INTO xml_t VALUES (1, '<a b="c">d</a>'), (2, NULL), (3, 'no element <b/>'), (4, '<?xml version="1.0" encoding="UTF-8"?><a>ä</a>');
UPDATE xml_t SET x = '<e/>' WHERE id = 2 RETURNING x;
INSERT INTO xml_bare SELECT x FROM xml_t;
SET xmloption = 'document';
INSERT INTO xml_t VALUES (5, '<!DOCTYPE a><a/>');
INSERT INTO xml_t VALUES (6, 'no document');
