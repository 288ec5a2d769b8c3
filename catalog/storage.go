package catalog

// Tables may lie in S3 and in what speaks its protocol. Their properties are those of pyiceberg: s3.endpoint, s3.region,
// s3.access-key-id, s3.secret-access-key, … Only this storage is linked, not the library's umbrella, which would add those of all
// clouds and 50 MB.
import _ "github.com/apache/iceberg-go/io/gocloud/s3"
