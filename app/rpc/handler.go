package rpc

import (
	"context"
	"fmt"
	"reflect"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// handle serves one call: it reads in and fills out, both protobuf messages.
type handle func(ctx context.Context, in, out any) error

// method is one method of a handler, looked up once. Everything wrapped round
// it is composed when it is registered, so that no call pays for that.
type method struct {
	name    string
	in, out reflect.Type // structs whose pointers are protobuf messages
	call    handle
}

var (
	contextType = reflect.TypeFor[context.Context]()
	messageType = reflect.TypeFor[proto.Message]()
	errorType   = reflect.TypeFor[error]()
)

// methods returns what a generated handler serves: each of its exported methods
// func(context.Context, *In, *Out) error. Any other exported method is an error.
func methods(handler any) ([]method, error) {
	value := reflect.ValueOf(handler)
	if !value.IsValid() || value.NumMethod() == 0 {
		return nil, fmt.Errorf("rpc: %T has no methods to serve", handler)
	}
	list := make([]method, value.NumMethod())
	for i := range list {
		name, f := value.Type().Method(i).Name, value.Method(i)
		t := f.Type()
		if t.NumIn() != 3 || t.In(0) != contextType || !message(t.In(1)) || !message(t.In(2)) ||
			t.NumOut() != 1 || t.Out(0) != errorType {
			return nil, fmt.Errorf("rpc: %T.%s is not a func(context.Context, *In, *Out) error of protobuf messages", handler, name)
		}
		list[i] = method{name: name, in: t.In(1).Elem(), out: t.In(2).Elem(), call: bind(f)}
	}
	return list, nil
}

func message(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && t.Implements(messageType)
}

func bind(f reflect.Value) handle {
	return func(ctx context.Context, in, out any) error {
		args := [3]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(in), reflect.ValueOf(out)}
		err, _ := f.Call(args[:])[0].Interface().(error)
		return err
	}
}

// desc describes the method to gRPC.
func (m method) desc() grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: m.name,
		Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in, out := reflect.New(m.in).Interface(), reflect.New(m.out).Interface()
			if err := decode(in); err != nil {
				return nil, err
			}
			if err := m.call(ctx, in, out); err != nil {
				return nil, err
			}
			return out, nil
		},
	}
}
