module github.com/cvconsumer/cvconsumer/pkg/cv/cvtest/sdk

go 1.26.0

replace github.com/cvconsumer/cvconsumer => ../../../..

require (
	github.com/Azure/azure-sdk-for-go v68.0.0+incompatible
	github.com/Azure/go-autorest/autorest v0.11.30
	github.com/cvconsumer/cvconsumer v0.0.0-00010101000000-000000000000
	github.com/gofrs/uuid v4.4.0+incompatible
	github.com/google/uuid v1.6.0
)

require (
	github.com/Azure/go-autorest v14.2.0+incompatible // indirect
	github.com/Azure/go-autorest/autorest/adal v0.9.22 // indirect
	github.com/Azure/go-autorest/autorest/date v0.3.1 // indirect
	github.com/Azure/go-autorest/autorest/validation v0.3.1 // indirect
	github.com/Azure/go-autorest/logger v0.2.1 // indirect
	github.com/Azure/go-autorest/tracing v0.6.1 // indirect
	github.com/golang-jwt/jwt/v4 v4.5.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
)
