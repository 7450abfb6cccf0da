BEGIN TRANSACTION;
CREATE TABLE event (
	sequence INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	topic VARCHAR NOT NULL, 
	body VARCHAR, 
	digest VARCHAR NOT NULL, 
	recorded_ms INTEGER NOT NULL, 
	sent_ms INTEGER, 
	parked INTEGER, 
	PRIMARY KEY (sequence), 
	UNIQUE (id)
);
INSERT INTO "event" VALUES(1,X'D2EC7DC45D1559ADA195FEBB17D5110F','note/lobby','{"data":{"records":1,"serial":"CEXA193960001","start":"2026-09-01","terminal":"lobby"},"datacontenttype":"application/json","digest":"sha256:6b0d8d2ca36c646c3a09b8f818d4f6e654fece51bf72654c209af8cffeb9aa11","id":"d2ec7dc4-5d15-59ad-a195-febb17d5110f","previous":"sha256:2e3dfc88ce2febdb83585f618d128ad5203e2120462f872905356b7510a5d91a","recordedtime":"2026-09-07T00:00:00.000Z","sequence":"00000000000000000001","source":"/hadir/office/gw-01","specversion":"1.0","stream":"5600d37c-0efe-4086-8eef-081b42bf0373","subject":"lobby","time":"2026-09-07T07:00:00+07:00","type":"hadir.history.withheld.v1"}','sha256:6b0d8d2ca36c646c3a09b8f818d4f6e654fece51bf72654c209af8cffeb9aa11',1788739200000,1788739260000,NULL);
INSERT INTO "event" VALUES(2,X'CC4F564A8F0A54EFB144B0E07B2CBC15','punch/lobby','{"data":{"clock":{"bound_ms":null,"gateway_synchronised":true,"measured":null,"offset_ms":null},"local_time":"2026-09-07T07:00:00","occurrence":1,"pin":"1001","position":1,"raw":"30","serial":"CEXA193960001","state":0,"state_label":"check_in","suspect":["unmeasured"],"terminal":"lobby","timezone":"Asia/Jakarta","verify":1,"verify_label":"fingerprint","via":"log","work_code":"0"},"datacontenttype":"application/json","digest":"sha256:13bd83d066dd904e57bd4ed43018fab7db9a339e1b873d296408ea2691811fc7","id":"cc4f564a-8f0a-54ef-b144-b0e07b2cbc15","previous":"sha256:6b0d8d2ca36c646c3a09b8f818d4f6e654fece51bf72654c209af8cffeb9aa11","recordedtime":"2026-09-07T00:00:00.000Z","sequence":"00000000000000000002","source":"/hadir/office/gw-01","specversion":"1.0","stream":"5600d37c-0efe-4086-8eef-081b42bf0373","subject":"lobby","time":"2026-09-07T07:00:00+07:00","type":"hadir.punch.recorded.v1"}','sha256:13bd83d066dd904e57bd4ed43018fab7db9a339e1b873d296408ea2691811fc7',1788739200000,1788739260000,NULL);
INSERT INTO "event" VALUES(3,X'D5D51A7E439D54ECA1BBD8B1F943536D','punch/lobby','{"data":{"clock":{"bound_ms":null,"gateway_synchronised":true,"measured":null,"offset_ms":null},"local_time":"2026-09-07T07:00:01","occurrence":1,"pin":"1001","position":2,"raw":"31","serial":"CEXA193960001","state":0,"state_label":"check_in","suspect":["unmeasured"],"terminal":"lobby","timezone":"Asia/Jakarta","verify":1,"verify_label":"fingerprint","via":"log","work_code":"0"},"datacontenttype":"application/json","digest":"sha256:4f9159c688f1688125265a53ceca6881c67589c5141ef0af4709fd59c9ea0d75","id":"d5d51a7e-439d-54ec-a1bb-d8b1f943536d","previous":"sha256:13bd83d066dd904e57bd4ed43018fab7db9a339e1b873d296408ea2691811fc7","recordedtime":"2026-09-07T00:00:00.000Z","sequence":"00000000000000000003","source":"/hadir/office/gw-01","specversion":"1.0","stream":"5600d37c-0efe-4086-8eef-081b42bf0373","subject":"lobby","time":"2026-09-07T07:00:01+07:00","type":"hadir.punch.recorded.v1"}','sha256:4f9159c688f1688125265a53ceca6881c67589c5141ef0af4709fd59c9ea0d75',1788739200000,NULL,NULL);
INSERT INTO "event" VALUES(4,X'FD8FE904A847521CB35EAECA179E7747','quarantine/lobby','{"data":{"occurrence":1,"position":3,"raw":"7831","reason":"impossible date","serial":"CEXA193960001","sha256":"ec31682fde561917952ff78a7a8adeffd0febc372dd26871916c46c630381b45","size":2,"terminal":"lobby","via":"log"},"datacontenttype":"application/json","digest":"sha256:f11028f6624339b8c120eac6ff75572b22b321244f0aa67beb5e7a8a2090fd08","id":"fd8fe904-a847-521c-b35e-aeca179e7747","previous":"sha256:4f9159c688f1688125265a53ceca6881c67589c5141ef0af4709fd59c9ea0d75","recordedtime":"2026-09-07T00:00:00.000Z","sequence":"00000000000000000004","source":"/hadir/office/gw-01","specversion":"1.0","stream":"5600d37c-0efe-4086-8eef-081b42bf0373","subject":"lobby","time":"2026-09-07T07:00:00+07:00","type":"hadir.record.quarantined.v1"}','sha256:f11028f6624339b8c120eac6ff75572b22b321244f0aa67beb5e7a8a2090fd08',1788739200000,NULL,NULL);
INSERT INTO "event" VALUES(5,X'2656FABCA0C45EEA8C75E631AECCFE72','punch/lobby','{"data":{"clock":{"bound_ms":null,"gateway_synchronised":true,"measured":null,"offset_ms":null},"local_time":"2026-09-07T07:01:01","occurrence":1,"pin":"1002","position":null,"raw":"6c697665","serial":"CEXA193960001","state":1,"state_label":"check_out","suspect":["unmeasured"],"terminal":"lobby","timezone":"Asia/Jakarta","verify":15,"verify_label":"face","via":"live","work_code":"0"},"datacontenttype":"application/json","digest":"sha256:fd9edb0bb35e2fd3565527d4dbea7aed14fb118b0d80eb36740680f1dcaee478","id":"2656fabc-a0c4-5eea-8c75-e631aeccfe72","previous":"sha256:f11028f6624339b8c120eac6ff75572b22b321244f0aa67beb5e7a8a2090fd08","recordedtime":"2026-09-07T00:01:00.000Z","sequence":"00000000000000000005","source":"/hadir/office/gw-01","specversion":"1.0","stream":"5600d37c-0efe-4086-8eef-081b42bf0373","subject":"lobby","time":"2026-09-07T07:01:01+07:00","type":"hadir.punch.recorded.v1"}','sha256:fd9edb0bb35e2fd3565527d4dbea7aed14fb118b0d80eb36740680f1dcaee478',1788739260000,NULL,NULL);
CREATE TABLE gateway (
	id INTEGER NOT NULL, 
	source VARCHAR NOT NULL, 
	stream VARCHAR NOT NULL, 
	sessions INTEGER NOT NULL, 
	clean BOOLEAN NOT NULL, 
	last_sent_ms INTEGER, 
	PRIMARY KEY (id)
);
INSERT INTO "gateway" VALUES(1,'/hadir/office/gw-01','5600d37c-0efe-4086-8eef-081b42bf0373',1,1,1788739260000);
CREATE TABLE place (
	terminal INTEGER NOT NULL, 
	generation INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	fingerprint BLOB NOT NULL, 
	sequence INTEGER, 
	PRIMARY KEY (terminal, generation, position)
)
 WITHOUT ROWID

;
INSERT INTO "place" VALUES(1,0,0,X'1A148E993708E641',NULL);
INSERT INTO "place" VALUES(1,0,1,X'595958AF5477B89C',2);
INSERT INTO "place" VALUES(1,0,2,X'529F6CB43863B85F',3);
INSERT INTO "place" VALUES(1,0,3,X'86C6CFD956AECF85',4);
CREATE TABLE terminal (
	number INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	serial VARCHAR NOT NULL, 
	layout VARCHAR, 
	generation INTEGER NOT NULL, 
	length INTEGER NOT NULL, 
	shift INTEGER NOT NULL, 
	matched_until INTEGER, 
	cleared BOOLEAN NOT NULL, 
	withheld_until INTEGER, 
	shrunk_to INTEGER, 
	offset_ms INTEGER, 
	bound_ms INTEGER, 
	measured_ms INTEGER, 
	last_punch VARCHAR, 
	full_ms INTEGER, 
	PRIMARY KEY (number), 
	UNIQUE (name)
);
INSERT INTO "terminal" VALUES(1,'lobby','CEXA193960001','40',0,4,0,0,0,1,NULL,NULL,NULL,NULL,'2026-09-07T07:01:01',1788739200000);
CREATE TABLE unconfirmed (
	id BLOB NOT NULL, 
	terminal INTEGER NOT NULL, 
	sequence INTEGER NOT NULL, 
	state INTEGER NOT NULL, 
	verify INTEGER NOT NULL, 
	work_code VARCHAR, 
	recorded_ms INTEGER NOT NULL, 
	reported BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "unconfirmed" VALUES(X'2656FABCA0C45EEA8C75E631AECCFE72',1,5,1,15,'0',1788739260000,0);
CREATE TABLE withheld (
	id BLOB NOT NULL, 
	terminal INTEGER NOT NULL, 
	generation INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	record VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "withheld" VALUES(X'F0C05B9A6E1256A3A526883920A0EF6A',1,0,0,'{"raw": "2d32353932303030", "pin": "1001", "uid": null, "local_time": "2026-08-08T07:00:00", "state": 0, "verify": 1, "work_code": "0"}');
CREATE INDEX waiting ON event (sequence) WHERE sent_ms IS NULL AND parked IS NULL;
CREATE INDEX parked ON event (sequence) WHERE parked IS NOT NULL;
COMMIT;
PRAGMA user_version = 1;
