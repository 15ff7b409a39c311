module etcd-snapshot-operator/test/tools/gozip

go 1.26
