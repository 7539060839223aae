import React from 'react';
import {View} from 'react-native';
import {Button, Datepicker, Input, Text, Toggle} from '@ui-kitten/components';
import {Formik} from 'formik';
import * as yup from 'yup';
import {useDispatch} from 'react-redux';
import {saved} from './store';

const rules = yup.object({
  title: yup.string().trim().required('A title is needed').max(80, 'At most 80 characters'),
  body: yup.string().max(10000, 'At most 10,000 characters'),
});

export function Editor({navigation, route}) {
  const dispatch = useDispatch();
  const note = route.params?.note ?? {title: '', body: '', pinned: false};
  const save = values => {
    dispatch(saved({...note, ...values}));
    navigation.goBack();
  };
  return (
    <Formik initialValues={note} validationSchema={rules} onSubmit={save}>
      {({values, errors, setFieldValue, handleChange, handleSubmit, isValid}) => (
        <View style={{flex: 1, padding: 16}}>
          <Input label="Title" value={values.title} onChangeText={handleChange('title')} caption={errors.title} />
          <Input label="Text" multiline value={values.body} onChangeText={handleChange('body')} caption={errors.body} />
          <Toggle checked={values.pinned} onChange={v => setFieldValue('pinned', v)}>Keep on top</Toggle>
          <Datepicker label="Remind me" date={values.due} onSelect={d => setFieldValue('due', d)} />
          <Text appearance="hint">{values.body.length} characters</Text>
          <Button disabled={!isValid} onPress={handleSubmit}>Save</Button>
        </View>
      )}
    </Formik>
  );
}
