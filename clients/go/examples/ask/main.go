// Ask asks one question and prints the answer as it comes:
//
//	ask "What is 17 * 23?"
//
// PARLEY_ADDRESS is where the edge listens (localhost:8443), PARLEY_API_KEY says who asks, and
// PARLEY_AUTHORITY_PATH names the authority's certificate where the edge's was signed by no public one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	inferencev1 "parley.example/client/gen/parley/inference/v1"
)

// key is an API key, sent with each call.
type key string

func (k key) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(k)}, nil
}

func (key) RequireTransportSecurity() bool { return true }

func main() {
	question := "What is 17 * 23?"
	if len(os.Args) > 1 {
		question = os.Args[1]
	}
	if err := ask(context.Background(), question); err != nil {
		fmt.Fprintln(os.Stderr, complaint(err))
		os.Exit(1)
	}
}

func dial() (*grpc.ClientConn, error) {
	transport := credentials.NewClientTLSFromCert(nil, "")
	if authority := os.Getenv("PARLEY_AUTHORITY_PATH"); authority != "" {
		var err error
		if transport, err = credentials.NewClientTLSFromFile(authority, ""); err != nil {
			return nil, err
		}
	}
	// Debian 12 has grpc-go 1.33; from 1.63 on this is grpc.NewClient.
	return grpc.Dial(os.Getenv("PARLEY_ADDRESS"),
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(key(os.Getenv("PARLEY_API_KEY"))))
}

func ask(ctx context.Context, question string) error {
	connection, err := dial()
	if err != nil {
		return err
	}
	defer connection.Close()
	answer, err := inferencev1.NewInferenceServiceClient(connection).Chat(ctx, &inferencev1.ChatRequest{
		Messages: []*inferencev1.Message{{
			Role:    inferencev1.Role_ROLE_USER,
			Content: []*inferencev1.ContentPart{{Part: &inferencev1.ContentPart_Text{Text: question}}},
		}},
		ServerTools: &inferencev1.ServerTools{All: true},
	})
	if err != nil {
		return err
	}
	for {
		response, err := answer.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		show(response.GetEvent())
	}
}

func show(event *inferencev1.ChatEvent) {
	switch said := event.GetEvent().(type) {
	case *inferencev1.ChatEvent_ContentDelta:
		fmt.Print(said.ContentDelta.GetText())
	case *inferencev1.ChatEvent_ToolCall:
		call := said.ToolCall.GetCall()
		fmt.Printf("[%s %s]\n", call.GetName(), call.GetArguments())
	case *inferencev1.ChatEvent_Finished:
		fmt.Printf("\nfinished: %s\n", said.Finished.GetReason())
	}
}

func complaint(err error) string {
	refused := status.Convert(err)
	reason := ""
	for _, detail := range refused.Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is {
			reason = info.GetReason()
		}
	}
	return fmt.Sprintf("%s %s: %s", refused.Code(), reason, refused.Message())
}
