// Kubernetes' own library for Go against an API: what controllers are made of.
//
//	client-go KUBECONFIG NAMESPACE
//
// Writes a line for each step that went as it should, and ends with an error where one did not.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	sink "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/retry"
)

var triggers = schema.GroupVersionResource{
	Group: "eventing.knative.dev", Version: "v1", Resource: "triggers",
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must(holds bool, what string, found ...any) {
	if !holds {
		panic(fmt.Sprintln(append([]any{"not so:", what}, found...)...))
	}
}

func eventually(ctx context.Context, what string, holds func() bool) {
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, time.Minute, true,
		func(context.Context) (bool, error) { return holds(), nil })
	must(err == nil, what)
}

func configMap(name, value string) *core.ConfigMap {
	labels := map[string]string{"made-by": "client-go"}
	return &core.ConfigMap{
		ObjectMeta: meta.ObjectMeta{Name: name, Labels: labels},
		Data:       map[string]string{"n": value},
	}
}

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	check(err)
	config.QPS = -1
	namespace := os.Args[2]
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()

	// As Kubernetes' own controllers do: bodies in protobuf, and answers in it if there are any.
	typed := rest.CopyConfig(config)
	typed.ContentType = runtime.ContentTypeProtobuf
	typed.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client := kubernetes.NewForConfigOrDie(typed)
	_, err = client.CoreV1().Namespaces().Create(ctx,
		&core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}}, meta.CreateOptions{})
	check(err)

	discovers(client)
	informs(ctx, client, namespace)
	pages(ctx, client, namespace)
	applies(ctx, client, namespace)
	changes(ctx, client, namespace)
	records(ctx, client, namespace)
	leads(ctx, client, namespace)
	knowsNoTypes(ctx, dynamic.NewForConfigOrDie(config), namespace)
	seesLess(ctx, config, client, namespace)
}

func discovers(client *kubernetes.Clientset) {
	groups, lists, err := client.Discovery().ServerGroupsAndResources()
	check(err)
	found := false
	for _, list := range lists {
		for _, resource := range list.APIResources {
			if list.GroupVersion == triggers.GroupVersion().String() && resource.Name == triggers.Resource {
				found = resource.Kind == "Trigger" && resource.Namespaced && len(resource.Verbs) > 6
			}
		}
	}
	must(found && len(groups) > 5, "Triggers are discovered", lists)
	preferred, err := client.Discovery().ServerPreferredResources()
	check(err)
	must(len(preferred) > 5, "there are preferred versions")
	version, err := client.Discovery().ServerVersion()
	check(err)
	must(version.Major == "1", "a version", version)
	fmt.Println("kinds are discovered")
}

func informs(ctx context.Context, client kubernetes.Interface, namespace string) {
	maps := client.CoreV1().ConfigMaps(namespace)
	_, err := maps.Create(ctx, configMap("before", "1"), meta.CreateOptions{})
	check(err)
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().ConfigMaps().Informer()
	seen := make(chan string, 100)
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { seen <- "+" + object.(*core.ConfigMap).Name },
		UpdateFunc: func(_, object any) { seen <- "=" + object.(*core.ConfigMap).Name },
		DeleteFunc: func(object any) { seen <- "-" + object.(*core.ConfigMap).Name },
	})
	check(err)
	ctx, stop := context.WithCancel(ctx)
	factory.StartWithContext(ctx)
	must(cache.WaitForCacheSync(ctx.Done(), informer.HasSynced), "the informer has all")
	expect := func(event string) {
		for got := ""; got != event; {
			select {
			case got = <-seen:
			case <-time.After(time.Minute):
				panic("waited for " + event)
			}
		}
	}
	expect("+before")
	made, err := maps.Create(ctx, configMap("after", "1"), meta.CreateOptions{})
	check(err)
	expect("+after")
	made.Data["n"] = "2"
	_, err = maps.Update(ctx, made, meta.UpdateOptions{})
	check(err)
	expect("=after")
	check(maps.Delete(ctx, "after", meta.DeleteOptions{}))
	expect("-after")
	stop()
	factory.Shutdown()
	fmt.Println("informers follow, from a list that is a stream")
}

func pages(ctx context.Context, client kubernetes.Interface, namespace string) {
	maps := client.CoreV1().ConfigMaps(namespace)
	for n := range 10 {
		_, err := maps.Create(ctx, configMap(fmt.Sprint("many-", n), "1"), meta.CreateOptions{})
		check(err)
	}
	calls, names := 0, map[string]bool{}
	list := pager.New(func(ctx context.Context, options meta.ListOptions) (runtime.Object, error) {
		calls++
		// What goes meanwhile is still in the later pages.
		_ = maps.Delete(ctx, "many-9", meta.DeleteOptions{})
		page, err := maps.List(ctx, options)
		if calls == 1 {
			_, err = maps.Create(ctx, configMap("many-99", "1"), meta.CreateOptions{})
		}
		return page, err
	})
	list.PageSize = 3
	options := meta.ListOptions{LabelSelector: "made-by=client-go"}
	check(list.EachListItem(ctx, options, func(object runtime.Object) error {
		names[object.(*core.ConfigMap).Name] = true
		return nil
	}))
	must(calls == 4 && len(names) == 10 && !names["many-99"], "pages of one state", calls, names)
	fmt.Println("a list comes in pages of one state")
}

func applies(ctx context.Context, client kubernetes.Interface, namespace string) {
	maps := client.CoreV1().ConfigMaps(namespace)
	wanted := func(value string) *apply.ConfigMapApplyConfiguration {
		return apply.ConfigMap("applied", namespace).WithData(map[string]string{"n": value})
	}
	one, other := meta.ApplyOptions{FieldManager: "one"}, meta.ApplyOptions{FieldManager: "other"}
	_, err := maps.Apply(ctx, wanted("1"), one)
	check(err)
	_, err = maps.Apply(ctx, wanted("2"), other)
	must(errors.IsConflict(err) && errors.HasStatusCause(err, meta.CauseTypeFieldManagerConflict),
		"a conflict", err)
	other.Force = true
	forced, err := maps.Apply(ctx, wanted("2"), other)
	check(err)
	owned, err := apply.ExtractConfigMap(forced, "other")
	check(err)
	must(owned.Data["n"] == "2", "the other owns it", owned)
	fmt.Println("objects are applied")
}

func changes(ctx context.Context, client kubernetes.Interface, namespace string) {
	maps := client.CoreV1().ConfigMaps(namespace)
	stale, err := maps.Get(ctx, "before", meta.GetOptions{})
	check(err)
	tries := 0
	check(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		tries++
		if tries == 1 {
			_, err := maps.Patch(ctx, "before", "application/json-patch+json",
				[]byte(`[{"op": "replace", "path": "/data/n", "value": "2"}]`), meta.PatchOptions{})
			check(err)
			stale.Data["n"] = "3"
			_, err = maps.Update(ctx, stale, meta.UpdateOptions{})
			return err
		}
		fresh, err := maps.Get(ctx, "before", meta.GetOptions{})
		check(err)
		fresh.Data["n"] = "3"
		_, err = maps.Update(ctx, fresh, meta.UpdateOptions{})
		return err
	}))
	must(tries == 2, "an old version is a conflict", tries)
	_, err = maps.Create(ctx, configMap("before", "1"), meta.CreateOptions{})
	must(errors.IsAlreadyExists(err), "it exists", err)
	_, err = maps.Create(ctx, configMap("Not a name", "1"), meta.CreateOptions{})
	must(errors.IsInvalid(err), "it is invalid", err)
	_, err = maps.Get(ctx, "none", meta.GetOptions{})
	must(errors.IsNotFound(err), "there is none", err)
	_, err = maps.List(ctx, meta.ListOptions{ResourceVersion: "99999999999"})
	must(errors.IsTimeout(err), "a version of the future", err)
	fmt.Println("refusals are told apart")
}

func records(ctx context.Context, client kubernetes.Interface, namespace string) {
	about, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, "before", meta.GetOptions{})
	check(err)
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&sink.EventSinkImpl{Interface: client.CoreV1().Events(namespace)})
	recorder := broadcaster.NewRecorder(scheme.Scheme, core.EventSource{Component: "client-go"})
	for range 3 {
		recorder.Event(about, core.EventTypeNormal, "Tested", "It was tested.")
	}
	eventually(ctx, "events are counted", func() bool {
		selector := "involvedObject.name=before,reason=Tested"
		list, err := client.CoreV1().Events(namespace).List(ctx, meta.ListOptions{FieldSelector: selector})
		check(err)
		return len(list.Items) == 1 && list.Items[0].Count == 3
	})
	broadcaster.Shutdown()
	fmt.Println("events are recorded")
}

func leads(ctx context.Context, client kubernetes.Interface, namespace string) {
	term := func(name string) (chan struct{}, context.CancelFunc) {
		leads := make(chan struct{})
		ctx, resign := context.WithCancel(ctx)
		lock := &resourcelock.LeaseLock{
			LeaseMeta:  meta.ObjectMeta{Name: "leader", Namespace: namespace},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		}
		go leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: lock, ReleaseOnCancel: true,
			LeaseDuration: 2 * time.Second, RenewDeadline: time.Second, RetryPeriod: 100 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { close(leads) },
				OnStoppedLeading: func() {},
			},
		})
		return leads, resign
	}
	first, resign := term("first")
	<-first
	second, end := term("second")
	lease, err := client.CoordinationV1().Leases(namespace).Get(ctx, "leader", meta.GetOptions{})
	check(err)
	must(*lease.Spec.HolderIdentity == "first", "the first leads", lease)
	resign()
	select {
	case <-second:
	case <-ctx.Done():
		panic("the second never leads")
	}
	end()
	fmt.Println("one leads, then another")
}

func knowsNoTypes(ctx context.Context, client dynamic.Interface, namespace string) {
	of := client.Resource(triggers).Namespace(namespace)
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, nil)
	informer := factory.ForResource(triggers).Informer()
	ctx, stop := context.WithCancel(ctx)
	factory.Start(ctx.Done())
	must(cache.WaitForCacheSync(ctx.Done(), informer.HasSynced), "the informer has all")
	trigger := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": triggers.GroupVersion().String(), "kind": "Trigger",
		"metadata": map[string]any{"name": "go"},
		"spec": map[string]any{
			"broker":     "default",
			"subscriber": map[string]any{"uri": "http://127.0.0.1:9/"},
		},
	}}
	made, err := of.Apply(ctx, "go", trigger, meta.ApplyOptions{FieldManager: "go"})
	check(err)
	must(made.GetGeneration() == 1, "it is new", made)
	eventually(ctx, "the informer has it", func() bool {
		_, has, err := informer.GetStore().GetByKey(namespace + "/go")
		return has && err == nil
	})
	check(of.DeleteCollection(ctx, meta.DeleteOptions{}, meta.ListOptions{}))
	eventually(ctx, "the informer forgets it", func() bool { return len(informer.GetStore().List()) == 0 })
	stop()
	factory.Shutdown()
	fmt.Println("Triggers are followed without their types")
}

func seesLess(ctx context.Context, config *rest.Config, client kubernetes.Interface, namespace string) {
	maps := core.SchemeGroupVersion.WithResource("configmaps")
	partial, err := metadata.NewForConfigOrDie(config).Resource(maps).Namespace(namespace).
		List(ctx, meta.ListOptions{LabelSelector: "made-by=client-go", Limit: 2})
	check(err)
	must(len(partial.Items) == 2 && partial.Continue != "" && partial.Items[0].UID != "", "metadata", partial)

	table := &meta.Table{}
	text, err := client.CoreV1().RESTClient().Get().Namespace(namespace).Resource("configmaps").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").
		Param("includeObject", "None").Do(ctx).Raw()
	check(err)
	check(runtime.DecodeInto(scheme.Codecs.UniversalDeserializer(), text, table))
	must(len(table.ColumnDefinitions) == 3 && len(table.Rows) > 9 && len(table.Rows[0].Cells) == 3, "a table", table)
	fmt.Println("metadata and tables are given")
}
